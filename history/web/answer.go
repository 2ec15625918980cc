package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// failure is an error that the caller is told.
type failure struct {
	status  int
	message string
}

func (f *failure) Error() string { return f.message }

func bad(format string, args ...any) error {
	return &failure{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &failure{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

func unauthorized(format string, args ...any) error {
	return &failure{http.StatusUnauthorized, fmt.Sprintf(format, args...)}
}

func forbidden(format string, args ...any) error {
	return &failure{http.StatusForbidden, fmt.Sprintf(format, args...)}
}

// call is a request of a caller.
type call struct {
	*http.Request

	caller Caller
}

// route is what can be asked for.
type route struct {
	// pattern is as http.ServeMux reads it, without the method.
	pattern, summary string
	parameters       []parameter
	// answer is a value of the type that it answers with.
	answer any
	do     func(*call) (any, error)
}

// answer answers requests for a route.
func (s *Server) answer(of *route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := s.Access.Caller(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if err := checkParameters(r.URL.Query(), of.parameters); err != nil {
			s.fail(w, r, err)
			return
		}
		answer, err := of.do(&call{r, caller})
		if err != nil {
			s.fail(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, answer)
	})
}

// fail answers with an error. What went wrong in here is logged, and the caller told only that.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if known := (*failure)(nil); !errors.As(err, &known) {
		if r.Context().Err() != nil {
			return // nobody is there to be told
		}
		s.Log.Error(err, "a request could not be answered", "path", r.URL.Path)
		err = &failure{http.StatusInternalServerError, "this could not be answered; the manager's log says why"}
	}
	fail(w, err)
}

func fail(w http.ResponseWriter, err error) {
	known := &failure{http.StatusInternalServerError, "this could not be answered"}
	errors.As(err, &known)
	if known.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, known.status, v1.Error{Message: known.message})
}

func writeJSON(w http.ResponseWriter, status int, answer any) {
	text, err := json.Marshal(answer)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"message":"the answer could not be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a caller that has gone needs none
}
