"""Typed controllers: functions of the application that serve destinations."""
