# Two images, each with one static program, the authorities that it trusts, and nothing else:
#
#   docker build --target longhaul         -t longhaul/longhaul:dev .
#   docker build --target transcode-worker -t longhaul/transcode-worker:dev .

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH VERSION=devel
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/ ./cmd/longhaul ./cmd/transcode-worker
# Who runs it, and a folder for temporary files: scratch has neither.
RUN mkdir -p /root-fs/etc /root-fs/tmp && chmod 1777 /root-fs/tmp && \
    echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > /root-fs/etc/passwd && \
    echo 'nonroot:x:65532:' > /root-fs/etc/group

FROM scratch AS base
COPY --from=build /root-fs /
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
USER 65532:65532

# The sample worker. It encodes with ffmpeg where there is one; here there is none, and it encodes by itself.
FROM base AS transcode-worker
COPY --from=build /out/transcode-worker /usr/local/bin/
ENV PATH=/usr/local/bin
ENTRYPOINT ["/usr/local/bin/transcode-worker"]

# The manager. Last, so that it is what a build without a target makes.
FROM base AS longhaul
COPY --from=build /out/longhaul /
ENTRYPOINT ["/longhaul"]
