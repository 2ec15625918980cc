package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestOfALongLogTheEndIsRead(t *testing.T) {
	t.Parallel()
	const most = 100
	for _, length := range []int{0, 1, most - 1, most, most + 1, 3*most - 1, 50 * most} {
		log := strings.Repeat("x", max(0, length-3)) + "end"[:min(3, length)]
		for name, reader := range map[string]io.Reader{
			"at once": strings.NewReader(log), "byte by byte": iotest.OneByteReader(strings.NewReader(log)), "with its end": iotest.DataErrReader(strings.NewReader(log)),
		} {
			got, err := lastOf(reader, most)
			if want := log[max(0, len(log)-most):]; got != want || err != nil {
				t.Errorf("of %d bytes %s: %q (%v), want %q", length, name, got, err, want)
			}
		}
	}
	if got, err := lastOf(io.MultiReader(strings.NewReader("begin"), iotest.ErrReader(errors.ErrUnsupported)), most); got != "begin" || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("of a log that breaks off: %q (%v)", got, err)
	}
}
