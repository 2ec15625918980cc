package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/longhaul-dev/longhaul/history"
)

// row is a record as a database keeps it.
type row struct {
	id                   int64
	uid, message         string
	scaledJob, kind      int64
	sequence             int64
	finished             *int64 // microseconds since 1970
	wait, startUp, run   *int64 // microseconds
	cpuSeconds           float64
	memoryByteSeconds    float64
	document             string
	words                []string
	namespace, name      string
	outcome, category    string
	createdMilliseconds  int64
	endedBefore, isKnown bool
}

// maxKey is how many bytes of a text an index holds as they are.
const maxKey = 256

// key is a text as an index holds it: PostgreSQL's take no long ones.
func key(text string) string {
	text = clean(text)
	if len(text) <= maxKey {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// clean is a text without what PostgreSQL refuses: NUL, and what is not UTF-8.
func clean(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "\uFFFD")
}

// rowOf is the row of a record, but for the numbers that the database gives.
func rowOf(r *history.Record) (row, error) {
	if r.UID == "" || r.Namespace == "" || r.ScaledJob == "" {
		return row{}, fmt.Errorf("the record of the Job %q in %q has no UID, no namespace or no ScaledJob", r.Job, r.Namespace)
	}
	stored := *r
	if len(r.Result) > 0 && !json.Valid(r.Result) {
		// It would keep all records that are saved with it from being saved.
		stored.Result, _ = json.Marshal(string(r.Result)) //nolint:errchkjson // a string always can be
	}
	document, err := json.Marshal(stored)
	if err != nil {
		return row{}, fmt.Errorf("encoding the record of the Job %q in %q: %w", r.Job, r.Namespace, err)
	}
	o := row{
		uid: key(r.UID), message: key(r.MessageID), sequence: r.Sequence,
		document: clean(string(document)), words: wordsOf(r),
		namespace: clean(r.Namespace), name: clean(r.ScaledJob),
		outcome: clean(string(r.Outcome)), category: clean(string(r.Category)),
		createdMilliseconds: milliseconds(r.Created),
	}
	if !r.Seen.IsZero() {
		o.wait = new(r.Wait().Microseconds())
	}
	if v, ok := r.StartUp(); ok {
		o.startUp = new(v.Microseconds())
	}
	if !r.Ended() {
		return o, nil
	}
	if v, ok := r.Run(); ok {
		o.run = new(v.Microseconds())
	}
	o.cpuSeconds, o.memoryByteSeconds = r.Requested()
	finished := r.Created
	if r.Finished != nil {
		finished = *r.Finished
	}
	o.finished = new(finished.UnixMicro())
	return o, nil
}

// Ids are in order of creation: the high bits are a time, the low ones tell apart what was created at that time. Kubernetes
// counts creation in seconds, so many are.
const idBits = 20

// milliseconds is a time as ids have it, since 1970, and not before that or after the year 2248.
func milliseconds(t time.Time) int64 {
	return min(max(0, t.UnixMilli()), 1<<(63-idBits)-1)
}

func firstID(milliseconds int64) int64 { return milliseconds << idBits }

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
