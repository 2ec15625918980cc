package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3gen"

	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// describe is the OpenAPI document of routes. Schemas follow from the types that are answered with.
func describe(routes []route, version string) (json.RawMessage, error) {
	schemas := openapi3.Schemas{}
	generator := openapi3gen.NewGenerator(
		openapi3gen.CreateComponentSchemas(openapi3gen.ExportComponentSchemasOptions{ExportComponentSchemas: true, ExportTopLevelSchema: true}),
		openapi3gen.UseAllExportedFields(),
	)
	schemaOf := func(answer any) (*openapi3.SchemaRef, error) { return generator.NewSchemaRefForValue(answer, schemas) }
	document := &openapi3.T{
		OpenAPI: "3.0.3",
		Info: &openapi3.Info{
			Title: "Longhaul", Version: version,
			Description: "What became of every message's Job. All requests are authorised by the cluster: you see the ScaledJobs that " +
				"you may get or list there, their Jobs and their records.",
		},
		Paths:      openapi3.NewPaths(),
		Components: &openapi3.Components{Schemas: schemas},
		Security:   *openapi3.NewSecurityRequirements().With(openapi3.NewSecurityRequirement().Authenticate("token")),
	}
	failed, err := schemaOf(v1.Error{})
	if err != nil {
		return nil, err
	}
	for i := range routes {
		r := &routes[i]
		schema, err := schemaOf(r.answer)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.pattern, err)
		}
		document.Paths.Set(r.pattern, &openapi3.PathItem{Get: operation(r.pattern, r.summary, r.parameters, openapi3.NewContentWithJSONSchemaRef(schema), failed)})
	}
	event, err := schemaOf(v1.Event{})
	if err != nil {
		return nil, err
	}
	document.Paths.Set("/api/v1/events", &openapi3.PathItem{Get: operation("/api/v1/events",
		"What changes from now on, as server-sent events called scaledjob, job, record and gone",
		eventParameters(), openapi3.NewContentWithSchemaRef(event, []string{"text/event-stream"}), failed)})
	document.Components.SecuritySchemes = openapi3.SecuritySchemes{
		"token": {Value: openapi3.NewJWTSecurityScheme().WithDescription("a token of the cluster, such as `kubectl create token` prints")},
	}
	return document.MarshalJSON()
}

// operation is what can be asked for at a path.
func operation(pattern, summary string, parameters []parameter, content openapi3.Content, failed *openapi3.SchemaRef) *openapi3.Operation {
	o := openapi3.NewOperation()
	o.Summary = summary
	for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(pattern, -1) {
		schema := openapi3.NewStringSchema()
		if name[1] == "sequence" {
			schema = openapi3.NewInt64Schema().WithMin(1)
		}
		o.AddParameter(openapi3.NewPathParameter(name[1]).WithSchema(schema))
	}
	for _, p := range parameters {
		schema := map[string]*openapi3.Schema{
			"string": openapi3.NewStringSchema(), "integer": openapi3.NewIntegerSchema(), "boolean": openapi3.NewBoolSchema(),
		}[p.kind]
		if p.repeated {
			schema = openapi3.NewArraySchema().WithItems(schema)
		}
		o.AddParameter(openapi3.NewQueryParameter(p.name).WithDescription(p.meaning).WithSchema(schema))
	}
	o.AddResponse(http.StatusOK, openapi3.NewResponse().WithDescription("as asked").WithContent(content))
	for status, when := range map[int]string{
		http.StatusBadRequest: "a parameter is wrong; the message says which", http.StatusUnauthorized: "who you are is not known",
		http.StatusForbidden: "you may not see this", http.StatusNotFound: "there is no such thing",
	} {
		o.Responses.Set(strconv.Itoa(status), &openapi3.ResponseRef{
			Value: openapi3.NewResponse().WithDescription(when).WithContent(openapi3.NewContentWithJSONSchemaRef(failed)),
		})
	}
	return o
}
