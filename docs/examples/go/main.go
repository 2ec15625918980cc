// Command go is a consumer in Go: it takes one message after another from a Redis list, has a program work on each, and tells
// Longhaul whether it works. See docs/consumers.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/longhaul-dev/longhaul/worker"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	q := queue{client: redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS")}), list: os.Getenv("LIST")}
	defer q.client.Close()
	w := worker.New()
	w.Hold(10 * time.Second)
	server := &http.Server{Addr: os.Getenv("LISTEN"), Handler: w, ReadHeaderTimeout: 10 * time.Second}
	go func() { log.Fatal(server.ListenAndServe()) }()
	return worker.Run(ctx, w, q.receive, q.work)
}

type queue struct {
	client *redis.Client
	list   string
}

func (q queue) held() string { return q.list + ":processing" }

// receive waits for a message. What Redis has moved is taken, whether or not the context has ended meanwhile: so it does not end
// the request.
func (q queue) receive(ctx context.Context) (message, name string, err error) {
	for {
		message, err := q.client.LMove(context.WithoutCancel(ctx), q.list, q.held(), "LEFT", "RIGHT").Result()
		if err == nil {
			return message, message, nil
		}
		if !errors.Is(err, redis.Nil) {
			log.Printf("taking a message: %v; trying again", err)
		}
		select {
		case <-ctx.Done():
			return "", "", ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// work has the program work on a message, and acknowledges it then. One that fails goes to another list.
func (q queue) work(ctx context.Context, message string) error {
	command := exec.CommandContext(ctx, os.Getenv("WORK"), message)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	failed := command.Run()
	_, err := q.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.LRem(ctx, q.held(), 1, message)
		if failed != nil {
			log.Printf("message %s: %v", message, failed)
			p.RPush(ctx, q.list+":failed", message)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("acknowledging message %s: %w", message, err)
	}
	return nil
}
