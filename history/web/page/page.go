// Package page is the dashboard: a page, and what it is made of, in files that are part of the program.
//
// The page is one document for all of its paths; its scripts show what the path and the query say. It refers to everything,
// the API among it, by relative URLs, so that it works behind a proxy that puts a path before it. For that it is told its
// root: how its own path leads to where the server's paths begin.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html"
	"io/fs"
)

//go:embed index.html assets
var files embed.FS

// rootMark is what stands for the root in the document.
const rootMark = "{{root}}"

// Index is the document for a path from which root leads to where the server's paths begin, such as "./" or "../../".
func Index(root string) []byte {
	text, err := files.ReadFile("index.html")
	if err != nil {
		panic(err) // it is part of the program
	}
	return bytes.ReplaceAll(text, []byte(rootMark), []byte(html.EscapeString(root)))
}

// Assets are the scripts, styles and pictures, by their paths below assets/.
func Assets() fs.FS {
	sub, err := fs.Sub(files, "assets")
	if err != nil {
		panic(err) // it is part of the program
	}
	return sub
}

// Tag is an entity tag for an asset, made of what is in it, so that a browser that has it is not sent it again. It is an error
// where there is no such file.
func Tag(asset string) (string, error) {
	text, err := fs.ReadFile(Assets(), asset)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return `"` + hex.EncodeToString(sum[:12]) + `"`, nil
}
