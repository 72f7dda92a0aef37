"""Applications as users of the package ``sockjs`` write them. Each runs on the package and on ours, unchanged.

``make_app`` takes the module that offers the calls (``sockjs`` or ``sockbridge.compat.sockjs``) and ``note``, which
writes down what the handler is told. Nothing else here is for the tests.
"""
