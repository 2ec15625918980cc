package web_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/longhaul-dev/longhaul/history"
)

func TestEachAnswerIsAsTheDocumentSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.save(ended("media/transcode", 1, 30, history.Failed, history.CategoryOutOfMemory), ended("media/transcode", 2, 10, history.Succeeded, history.CategorySucceeded))
	w.job("media/transcode", 3)
	w.scaledDeployment("media/encoder", "")
	_, text := w.get("/api/v1/openapi.json", "")
	document, err := openapi3.NewLoader().LoadFromData([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	document.Servers = openapi3.Servers{{URL: w.URL}}
	router, err := gorillamux.NewRouter(document)
	if err != nil {
		t.Fatal(err)
	}
	const one = "/api/v1/namespaces/media/scaledjobs/transcode"
	told := map[string]bool{"/api/v1/events": true} // a stream
	for _, path := range []string{
		"/api/v1/scaleddeployments?namespace=media", "/api/v1/namespaces/media/scaleddeployments/encoder",
		"/api/v1/scaledjobs?namespace=media&namespace=audio&labelSelector=app&deleted=true", one, one + "/jobs?progress=true", one + "/records?limit=1&outcome=failed",
		one + "/records/1", one + "/stats?since=1h&buckets=3&histogram=true", one + "/activity?points=5&since=1h", one + "/timeline?limit=7", "/api/v1/records?search=video",
		"/api/v1/user", one + "/records/99", one + "/records?limit=99999",
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		route, parameters, err := router.FindRoute(request)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		told[route.Path] = true
		asked := &openapi3filter.RequestValidationInput{
			Request: request, PathParams: parameters, Route: route, Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
		}
		if err := openapi3filter.ValidateRequest(t.Context(), asked); err != nil {
			t.Errorf("%s: the request is not as the document says: %v", path, err)
		}
		status, body := w.get(path, "")
		answered := (&openapi3filter.ResponseValidationInput{
			RequestValidationInput: asked, Status: status, Header: http.Header{"Content-Type": {"application/json"}},
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		}).SetBodyBytes([]byte(body))
		if err := openapi3filter.ValidateResponse(t.Context(), answered); err != nil {
			t.Errorf("%s: %d %s is not as the document says: %v", path, status, body, err)
		}
	}
	for _, path := range document.Paths.InMatchingOrder() {
		if !told[path] {
			t.Errorf("%s is in the document, and was not asked for", path)
		}
	}
	if names := schemaNames(document); !slices.Contains(names, "RecordList") {
		t.Errorf("the schemas are called %v", names)
	}
}

func schemaNames(d *openapi3.T) []string {
	var names []string
	for name := range d.Components.Schemas {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
