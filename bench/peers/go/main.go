// sockjs-go on Go's own HTTP server: server PORT
package main

import (
	"log"
	"net/http"
	"os"
	"sync"

	"github.com/gorilla/websocket"
	"github.com/igm/sockjs-go/v3/sockjs"
)

func echo(session sockjs.Session) {
	for {
		message, err := session.Recv()
		if err != nil {
			return
		}
		if session.Send(message) != nil {
			return
		}
	}
}

// A room sends to all of its sessions what one of them says.
type room struct {
	mutex    sync.RWMutex
	sessions map[*sockjs.Session]struct{}
}

func (r *room) serve(session sockjs.Session) {
	r.mutex.Lock()
	r.sessions[&session] = struct{}{}
	r.mutex.Unlock()
	defer func() {
		r.mutex.Lock()
		delete(r.sessions, &session)
		r.mutex.Unlock()
	}()
	for {
		message, err := session.Recv()
		if err != nil {
			return
		}
		r.broadcast(message)
	}
}

func (r *room) broadcast(message string) {
	r.mutex.RLock()
	defer r.mutex.RUnlock()
	for session := range r.sessions {
		session.Send(message) // an error means that it is closed; its own loop ends then
	}
}

func main() {
	options := sockjs.DefaultOptions
	options.WebsocketUpgrader = &websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	broadcast := room{sessions: make(map[*sockjs.Session]struct{})}
	http.Handle("/echo/", sockjs.NewHandler("/echo", options, echo))
	http.Handle("/broadcast/", sockjs.NewHandler("/broadcast", options, broadcast.serve))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
