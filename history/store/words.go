package store

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/longhaul-dev/longhaul/history"
)

const (
	// maxWord is how many bytes of a word are kept. PostgreSQL takes 2046, but nobody types as many.
	maxWord = 64
	// maxWords is how many bytes of words are kept of one record. PostgreSQL takes a megabyte, overhead included.
	maxWords = 128 << 10
	// maxQuery is how many words of a query are looked for.
	maxQuery = 20
)

// cut cuts a text into words: runs of letters, marks and digits in lower case, of which the first 64 bytes count.
func cut(text string, word func(string) bool) {
	for len(text) > 0 {
		start := strings.IndexFunc(text, isPart)
		if start < 0 {
			return
		}
		text = text[start:]
		end := strings.IndexFunc(text, func(r rune) bool { return !isPart(r) })
		if end < 0 {
			end = len(text)
		}
		if !word(shorten(strings.ToLower(text[:end]))) {
			return
		}
		text = text[end:]
	}
}

// isPart says whether words are made of it. What is not valid UTF-8 is read as U+FFFD, which is none.
func isPart(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

func shorten(word string) string {
	if len(word) <= maxWord {
		return word
	}
	end := maxWord
	for !utf8.RuneStart(word[end]) {
		end--
	}
	return word[:end]
}

// wordsOf are the words by which a record is found, each once.
func wordsOf(r *history.Record) []string {
	var all []string
	seen, size := map[string]bool{}, 0
	add := func(word string) bool {
		if !seen[word] {
			if size += len(word); size > maxWords {
				return false
			}
			seen[word] = true
			all = append(all, word)
		}
		return true
	}
	for _, text := range []string{r.MessageID, r.Job, r.Trigger, r.Reason, r.Message, string(r.Result)} {
		cut(text, add)
	}
	for i := range r.Attempts {
		a := &r.Attempts[i]
		for _, text := range []string{a.Pod, a.Node, a.Reason, a.Message, a.LogTail} {
			cut(text, add)
		}
	}
	return all
}

// queryWords are the words of a query, each once.
func queryWords(query string) []string {
	var all []string
	seen := map[string]bool{}
	cut(query, func(word string) bool {
		if !seen[word] {
			seen[word] = true
			all = append(all, word)
		}
		return len(all) < maxQuery
	})
	return all
}

// term is one of the things that all must be in a record that a search finds: any of some tokens.
type term struct {
	tokens []string
	// prefix has them stand for all words that begin so.
	prefix bool
}

// Tokens that are no words, as they have a sign in them, stand for what a record belongs to. So the search index alone finds
// the records that have a common word and a rare kind.
func scaledJobToken(id int64) string { return "=s" + decimal(id) }
func kindToken(id int64) string      { return "=k" + decimal(id) }

// tokens are the words of a row, and the tokens that stand for what it belongs to.
func (r *row) tokens() []string {
	return append(slices.Clip(r.words), scaledJobToken(r.scaledJob), kindToken(r.kind))
}
