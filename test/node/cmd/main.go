// Command process-node runs the pods of a control plane on this machine as processes. README.md in the folder above says
// what it does, and what it does not do.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/longhaul-dev/longhaul/test/node/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
