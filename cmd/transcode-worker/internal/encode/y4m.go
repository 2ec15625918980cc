package encode

import (
	"bufio"
	"errors"
	"fmt"
	"image"
	"io"
	"strconv"
	"strings"
)

const (
	y4mMagic  = "YUV4MPEG2"
	frameWord = "FRAME"
	// maxLine bounds a header line, maxSide and maxPixels a picture, so that garbage cannot ask for much memory.
	maxLine   = 4096
	maxSide   = 16384
	maxPixels = 1 << 26
)

// Header is what a Y4M clip says of itself.
type Header struct {
	// Width and Height are in pixels; 1 or more.
	Width, Height int
	// Rate over Scale is how many frames there are in a second; both are 1 or more.
	Rate, Scale int
	// Ratio is how much coarser colours are than brightness.
	Ratio image.YCbCrSubsampleRatio
	// Mono says that there are no colours.
	Mono bool
	// FullRange says that values go from 0 to 255; otherwise from 16 to 235, and colours to 240.
	FullRange bool
}

// Y4MReader reads a clip of uncompressed video, frame by frame.
type Y4MReader struct {
	r      *bufio.Reader
	header Header
	offset int64
	frames int
}

// NewY4MReader reads the header. Where that is not of a Y4M clip that can be read, the error wraps ErrInput.
func NewY4MReader(r io.Reader) (*Y4MReader, error) {
	y := &Y4MReader{r: bufio.NewReaderSize(r, 256<<10)}
	line, err := y.line()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: it is empty", ErrInput)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Y4M header: %w", err)
	}
	if y.header, err = parseHeader(line); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	return y, nil
}

// Header returns what the clip says of itself.
func (y *Y4MReader) Header() Header { return y.header }

// Offset returns how many bytes of the clip have been read.
func (y *Y4MReader) Offset() int64 { return y.offset }

// NewFrame returns a grey picture of the clip's format, for ReadFrame.
func (y *Y4MReader) NewFrame() *image.YCbCr {
	return newFrame(y.header.Width, y.header.Height, y.header.Ratio)
}

// ReadFrame reads the next picture into one made by NewFrame. It returns io.EOF where the clip ends between two; where it
// ends within one, or is damaged, the error wraps ErrInput.
func (y *Y4MReader) ReadFrame(frame *image.YCbCr) error {
	line, err := y.line()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("reading the header of frame %d: %w", y.frames+1, err)
	}
	if line != frameWord && !strings.HasPrefix(line, frameWord+" ") {
		return fmt.Errorf("%w: frame %d does not begin with %s", ErrInput, y.frames+1, frameWord)
	}
	planes := [][]byte{frame.Y, frame.Cb, frame.Cr}
	if y.header.Mono {
		planes = planes[:1]
	}
	for _, plane := range planes {
		n, err := io.ReadFull(y.r, plane)
		y.offset += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: it ends within frame %d", ErrInput, y.frames+1)
		}
		if err != nil {
			return fmt.Errorf("reading frame %d: %w", y.frames+1, err)
		}
	}
	y.frames++
	return nil
}

// line reads up to a newline. It returns io.EOF, bare, where there is nothing at all.
func (y *Y4MReader) line() (string, error) {
	var line []byte
	for {
		b, err := y.r.ReadByte()
		if errors.Is(err, io.EOF) && len(line) > 0 {
			return "", fmt.Errorf("%w: it ends within a header", ErrInput)
		}
		if err != nil {
			return "", err
		}
		y.offset++
		if b == '\n' {
			return string(line), nil
		}
		if len(line) == maxLine {
			return "", fmt.Errorf("%w: a header is longer than %d bytes, so it is no Y4M clip or damaged", ErrInput, maxLine)
		}
		line = append(line, b)
	}
}

func parseHeader(line string) (Header, error) {
	fields := strings.Split(line, " ")
	if fields[0] != y4mMagic {
		return Header{}, fmt.Errorf("it is no Y4M clip: it does not begin with %s", y4mMagic)
	}
	h := Header{Rate: 25, Scale: 1, Ratio: image.YCbCrSubsampleRatio420}
	for _, field := range fields[1:] {
		if field == "" {
			continue
		}
		if err := h.set(field[0], field[1:]); err != nil {
			return Header{}, err
		}
	}
	if h.Width == 0 || h.Height == 0 {
		return Header{}, errors.New("the header lacks the width or the height")
	}
	if h.Width*h.Height > maxPixels {
		return Header{}, fmt.Errorf("%d×%d is too large: at most %d pixels", h.Width, h.Height, maxPixels)
	}
	return h, nil
}

// set takes one parameter of the header. Those that it does not know do not matter here.
func (h *Header) set(key byte, value string) error {
	var err error
	switch key {
	case 'W':
		h.Width, err = side("width", value)
	case 'H':
		h.Height, err = side("height", value)
	case 'F':
		return h.setRate(value)
	case 'C':
		return h.setChroma(value)
	case 'X':
		h.FullRange = h.FullRange || value == "COLORRANGE=FULL"
	}
	return err
}

func side(name, value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxSide {
		return 0, fmt.Errorf("the %s %.20q is no number from 1 to %d", name, value, maxSide)
	}
	return n, nil
}

// setRate takes a ratio such as 30000:1001. 0:0 means that the rate is not known; then it stays as it is.
func (h *Header) setRate(value string) error {
	rate, scale, ok := strings.Cut(value, ":")
	r, errRate := strconv.ParseInt(rate, 10, 32)
	s, errScale := strconv.ParseInt(scale, 10, 32)
	switch {
	case !ok || errRate != nil || errScale != nil || r < 0 || s < 0:
		return fmt.Errorf("the frame rate %.20q is no ratio such as 30:1", value)
	case r > 0 && s > 0:
		h.Rate, h.Scale = int(r), int(s)
	}
	return nil
}

func (h *Header) setChroma(value string) error {
	switch value {
	case "420", "420jpeg", "420mpeg2", "420paldv":
		h.Ratio = image.YCbCrSubsampleRatio420
	case "422":
		h.Ratio = image.YCbCrSubsampleRatio422
	case "444":
		h.Ratio = image.YCbCrSubsampleRatio444
	case "mono":
		h.Mono = true
	default:
		return fmt.Errorf("the format C%.20s is not supported: 8-bit 420, 422, 444 and mono are", value)
	}
	return nil
}

// newFrame returns a grey picture.
func newFrame(width, height int, ratio image.YCbCrSubsampleRatio) *image.YCbCr {
	frame := image.NewYCbCr(image.Rect(0, 0, width, height), ratio)
	for _, plane := range [][]byte{frame.Y, frame.Cb, frame.Cr} {
		for i := range plane {
			plane[i] = 128
		}
	}
	return frame
}
