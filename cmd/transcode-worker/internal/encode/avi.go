package encode

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

const (
	// aviHeaderSize is where the first picture begins.
	aviHeaderSize = 224
	// aviIndexEntry is the size of a picture's entry in the index.
	aviIndexEntry = 16
	// aviKeyFrame marks a picture that can be shown without another.
	aviKeyFrame = 0x10
	// aviHasIndex says that the index is there.
	aviHasIndex = 0x10
)

// AVIWriter writes Motion-JPEG video as an AVI file: a header, the pictures, and an index of them. The header tells how
// many there are, so it is written again in the end, and so the file can be sought in.
type AVIWriter struct {
	w       io.WriteSeeker
	format  AVIFormat
	sizes   []uint32
	pos     int64
	largest uint32
	limit   int64
}

// AVIFormat is what all pictures of a video have in common.
type AVIFormat struct {
	// Width and Height are in pixels.
	Width, Height int
	// Rate over Scale is how many pictures there are in a second.
	Rate, Scale int
}

// NewAVIWriter begins a file. It must be ended with Close.
func NewAVIWriter(w io.WriteSeeker, format AVIFormat) (*AVIWriter, error) {
	a := &AVIWriter{w: w, format: format, pos: aviHeaderSize, limit: math.MaxUint32}
	if _, err := w.Write(a.header()); err != nil {
		return nil, err
	}
	return a, nil
}

// WriteFrame appends one picture, a JPEG. One that would make the file larger than its 32-bit sizes can tell is refused;
// then the error wraps ErrInput.
func (a *AVIWriter) WriteFrame(jpeg []byte) error {
	size := uint32(len(jpeg))
	chunk := make([]byte, 0, 8+len(jpeg)+1)
	chunk = append(chunk, "00dc"...)
	chunk = binary.LittleEndian.AppendUint32(chunk, size)
	chunk = append(chunk, jpeg...)
	if len(jpeg)%2 == 1 {
		chunk = append(chunk, 0) // chunks begin at even offsets
	}
	if a.pos+int64(len(chunk))+8+int64(len(a.sizes)+1)*aviIndexEntry > a.limit {
		return fmt.Errorf("%w: the video is too long for an AVI file, which has at most %d bytes", ErrInput, a.limit)
	}
	if _, err := a.w.Write(chunk); err != nil {
		return err
	}
	a.pos += int64(len(chunk))
	a.sizes = append(a.sizes, size)
	a.largest = max(a.largest, size)
	return nil
}

// Close writes the index and what the header could not tell at first. It does not close the file.
func (a *AVIWriter) Close() error {
	if _, err := a.w.Write(a.index()); err != nil {
		return err
	}
	if _, err := a.w.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("going back to the header: %w", err)
	}
	_, err := a.w.Write(a.header())
	return err
}

// header lays out everything before the first picture.
func (a *AVIWriter) header() []byte {
	f := a.format
	frames := uint32(len(a.sizes))
	width, height := uint32(f.Width), uint32(f.Height)
	b := chunks{}
	b.word("RIFF").number(uint32(a.pos) - 8 + uint32(8+len(a.sizes)*aviIndexEntry)).word("AVI ")
	b.word("LIST").number(192).word("hdrl")
	b.word("avih").number(56)
	b.number(uint32(min(1_000_000*int64(f.Scale)/int64(f.Rate), math.MaxUint32))) // microseconds a picture
	b.number(0).number(0).number(aviHasIndex)
	b.number(frames).number(0).number(1).number(a.largest)
	b.number(width).number(height).number(0).number(0).number(0).number(0)
	b.word("LIST").number(116).word("strl")
	b.word("strh").number(56).word("vids").word("MJPG")
	b.number(0).number(0).number(0)
	b.number(uint32(f.Scale)).number(uint32(f.Rate)).number(0).number(frames)
	b.number(a.largest).number(math.MaxUint32).number(0)
	b.number(0).number(height<<16 | width&0xffff) // the picture's place: left, top, right, bottom
	b.word("strf").number(40).number(40).number(width).number(height)
	b.number(24<<16 | 1) // one plane of 24 bits a pixel
	b.word("MJPG").number(width * height * 3).number(0).number(0).number(0).number(0)
	b.word("LIST").number(uint32(a.pos) - aviHeaderSize + 4).word("movi")
	return b.Bytes()
}

// index lists each picture's place, counted from the word movi, and size.
func (a *AVIWriter) index() []byte {
	b := chunks{}
	b.word("idx1").number(uint32(len(a.sizes) * aviIndexEntry))
	offset := uint32(4)
	for _, size := range a.sizes {
		b.word("00dc").number(aviKeyFrame).number(offset).number(size)
		offset += 8 + size + size%2
	}
	return b.Bytes()
}

// chunks is a buffer for the four-byte words and numbers that such a file is made of.
type chunks struct{ bytes.Buffer }

func (c *chunks) word(s string) *chunks {
	c.WriteString(s)
	return c
}

func (c *chunks) number(n uint32) *chunks {
	c.Write(binary.LittleEndian.AppendUint32(nil, n))
	return c
}
