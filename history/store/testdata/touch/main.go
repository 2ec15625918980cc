// Command touch opens a store's file and closes it, as another process.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/longhaul-dev/longhaul/history/store"
)

func main() {
	s, err := store.Open(context.Background(), store.Options{SQLite: os.Args[1]})
	if err == nil {
		_, err = s.List(context.Background(), store.Query{})
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
