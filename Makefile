# Longhaul: `make help` lists what there is to make. Linux, Go, bash and git are all it takes; root is not needed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 10s
BENCHTIME ?= 1s
TESTFLAGS ?=
DEMO ?= jobs
BROKER ?= redis
DEMO_KEEP ?=

# The race detector needs a C compiler. Go says 0 here where there is none.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
# Modules beside the root's; of test/kube, all but its main package, which would compile Kubernetes.
KUBE_PACKAGES := ./command/... ./controlplane/...
# Packages with tests that need seconds of real time each, a machine to themselves, and no race detector in their way.
SLOW := /test/e2e(/|$$)|/test/demo(/|$$)

.PHONY: help
help: ## Say what there is to make
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Variables: DEMO=jobs|longpoll, BROKER=redis|rabbitmq and DEMO_KEEP=1 for demo; TESTFLAGS for test;"
	@echo "FUZZTIME=$(FUZZTIME); BENCHTIME=$(BENCHTIME); VERSION=$(VERSION)."
	@echo "Tools and the control plane are kept in $${LONGHAUL_CACHE:-~/.cache/longhaul}."

##@ Try it

.PHONY: demo
demo: ## Transcode 12 clips with 12 Jobs on this machine (DEMO=longpoll: with consumers that stay up; BROKER=rabbitmq; DEMO_KEEP=1)
	@DEMO=$(DEMO) BROKER=$(BROKER) DEMO_KEEP=$(DEMO_KEEP) go run ./test/demo

.PHONY: kube
kube: bin/process-node bin/transcode-worker ## Start a local Kubernetes with Longhaul's kinds, and a node that runs pods as processes
	@.ci/kube start

.PHONY: kube-stop
kube-stop: ## Stop it; its objects stay in .local/kube for the next start
	@.ci/kube stop

##@ Change it

.PHONY: generate
generate: install-tools ## Generate code and CustomResourceDefinitions from the API's types
	@bin/tools/controller-gen object paths=./api/v1alpha1
	@bin/tools/controller-gen crd:generateEmbeddedObjectMeta=true paths=./api/v1alpha1 output:crd:dir=config/crd/bases
	@go run ./api/crd config/crd/bases

.PHONY: format
format: install-tools ## Format the code, and mend what the linters can
	@bin/tools/golangci-lint fmt
	@bin/tools/golangci-lint run --fix ./... || true
	@cd test/kube && ../../bin/tools/golangci-lint fmt -c ../../.golangci.yml

.PHONY: build
build: bin/longhaul bin/kubectl-longhaul bin/transcode-worker bin/process-node ## Build the manager, the plugin, the sample worker and the node into bin/

# Go knows what is up to date.
.PHONY: bin/longhaul bin/kubectl-longhaul bin/transcode-worker bin/process-node
bin/longhaul: PACKAGE := ./cmd/longhaul
bin/kubectl-longhaul: PACKAGE := ./cmd/kubectl-longhaul
bin/transcode-worker: PACKAGE := ./cmd/transcode-worker
bin/process-node: PACKAGE := ./test/node/cmd
bin/longhaul bin/kubectl-longhaul bin/transcode-worker bin/process-node:
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ $(PACKAGE)

##@ Check it

.PHONY: verify
verify: generate ## Check that what is generated, formatted, linked and required is as committed
	@echo "go.mod and go.sum are tidy"
	@go mod tidy -diff
	@cd test/kube && go mod tidy -diff
	@echo "Go code is formatted"
	@bin/tools/golangci-lint fmt --diff
	@cd test/kube && ../../bin/tools/golangci-lint fmt --diff -c ../../.golangci.yml
	@echo "manifests can be built"
	@for base in config/crd config/default config/postgres; do bin/tools/kustomize build $$base > /dev/null; done
	@echo "documents tell all fields, flags, metrics and reasons, and their links resolve"
	@go test ./docs
	@echo "generated files are as committed"
	@git --no-pager diff --exit-code -- api config/crd/bases
	@test -z "$$(git status --porcelain -- api config/crd/bases)" || { git status --short -- api config/crd/bases; exit 1; }

.PHONY: lint
lint: install-tools ## Run the linters over the code, and over the API's types
	@for config in .golangci.yml .golangci-kal.yml; do bin/tools/golangci-lint config verify -c $$config; done
	@bin/tools/golangci-lint run ./...
	@bin/tools/golangci-lint run -c .golangci-kal.yml ./api/v1alpha1/...
	@cd test/kube && LOG_LEVEL=error ../../bin/tools/golangci-lint run -c ../../.golangci.yml $(KUBE_PACKAGES)

.PHONY: test
test: brokers ## Run all tests: unit, property, integration, drivers and, at the end, end to end
	@test -n "$(RACE)" || echo "no C compiler: tests run without the race detector"
	@assets="$$(test/kube/build.sh)"; export KUBEBUILDER_ASSETS="$$assets"; \
	echo "--- the local control plane's own tests"; \
	(cd test/kube && go test -timeout 15m $(TESTFLAGS) $(KUBE_PACKAGES)); \
	echo "--- unit, property, integration and driver tests"; \
	go test $(RACE) -timeout 20m $(TESTFLAGS) $$(go list ./... | grep -Ev '$(SLOW)'); \
	slow="$$(go list ./... | grep -E '$(SLOW)' || true)"; \
	if [[ -n $$slow ]]; then \
		echo "--- end to end"; \
		go test -count=1 -p 1 -timeout 30m $(TESTFLAGS) $$slow; \
	fi

.PHONY: test-unit
test-unit: ## Run the tests that need no broker and no API server; takes seconds
	@go test -short $$(go list ./... | grep -Ev '/test/(e2e|integration|demo)(/|$$)')

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' --exclude-dir=kube . | while IFS=: read -r file target; do \
		target=$${target#func }; \
		echo "--- $$target in $$(dirname "$$file")"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime '$(FUZZTIME)' "$$(dirname "$$file")"; \
	done

.PHONY: bench
bench: ## Run all benchmarks, each for BENCHTIME
	@packages="$$(grep -rEl --include='*_test.go' '^func Benchmark' --exclude-dir=kube . | xargs -r -n1 dirname | sort -u || true)"; \
	test -z "$$packages" || go test -run '^$$' -bench . -benchmem -benchtime '$(BENCHTIME)' $$packages

.PHONY: brokers
brokers: ## Install RabbitMQ, Redis, PostgreSQL and Chromium for the tests where they are missing and that is possible
	@test/fixture/install.sh

##@ Keep it

.PHONY: install-tools
install-tools: ## Build the tools that go.tools.mod and go.lint.mod pin, once, and link them to bin/tools
	@mkdir -p bin && ln -sfn "$$(.ci/tools)" bin/tools

.PHONY: clean
clean: kube-stop ## Stop what runs, and remove what was built here; the cache stays
	@rm -rf bin .local
