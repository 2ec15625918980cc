package web

import (
	"net/http"
	"path"
	"strings"

	"github.com/longhaul-dev/longhaul/history/web/page"
)

// pages serves what is for browsers: the page at all of its paths, what it is made of, and logging in and out.
func (s *Server) pages(mux *http.ServeMux) {
	assets := http.StripPrefix("/assets/", http.FileServerFS(page.Assets()))
	mux.HandleFunc("GET /assets/{file...}", func(w http.ResponseWriter, r *http.Request) {
		tag, err := page.Tag(r.PathValue("file"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", tag)
		w.Header().Set("Cache-Control", "no-cache") // asked for anew, and sent only where it changed
		assets.ServeHTTP(w, r)
	})
	for _, pattern := range []string{
		"GET /{$}", "GET /records", "GET /login", "GET /namespaces/{namespace}/scaledjobs/{name}", "GET /namespaces/{namespace}/scaleddeployments/{name}",
		"GET /namespaces/{namespace}/scaledjobs/{name}/records/{sequence}",
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write(page.Index(root(r.URL.Path))) //nolint:gosec // it has steps up in it, and nothing of the path
		})
	}
	mux.HandleFunc("POST /login", s.logIn)
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, sessionCookie("", -1))
		w.WriteHeader(http.StatusNoContent)
	})
}

// root is how a page at a path refers to the root: by as many steps up as it is deep, since there may be a proxy's path
// before it.
func root(of string) string {
	if n := strings.Count(path.Clean(of), "/") - 1; n > 0 {
		return strings.Repeat("../", n)
	}
	return "./"
}

// logIn takes a token, and has the browser send it along from then on.
func (s *Server) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 2*maxToken)
	// A page of another site may not log anybody in.
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		fail(w, forbidden("logging in is for the page of this site"))
		return
	}
	token := strings.TrimSpace(r.PostFormValue("token"))
	if token == "" {
		fail(w, bad("token is empty: give one of the cluster, such as `kubectl create token` prints"))
		return
	}
	asking := r.Clone(r.Context())
	asking.Header = http.Header{"Authorization": {"Bearer " + token}}
	if _, err := s.Access.Caller(asking); err != nil {
		s.fail(w, r, err)
		return
	}
	http.SetCookie(w, sessionCookie(token, 0))
	w.WriteHeader(http.StatusNoContent)
}

// sessionCookie holds the token until the browser ends, or an age in seconds; below 0 it goes away.
func sessionCookie(token string, age int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: token, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}
