package encode

import "image"

// halver makes pictures half as wide and high, each pixel the mean of four, and of full range.
type halver struct {
	brightness, colour [256]byte // a value of the clip's range in full range
}

func newHalver(fullRange bool) *halver {
	h := &halver{}
	for v := range 256 {
		h.brightness[v], h.colour[v] = byte(v), byte(v)
		if !fullRange {
			h.brightness[v] = stretch(v-16, 219, 0)
			h.colour[v] = stretch(v-128, 224, 128)
		}
	}
	return h
}

// stretch scales a value so that span becomes 255.
func stretch(v, span, zero int) byte {
	return byte(min(max(zero+(2*v*255+span)/(2*span), 0), 255))
}

// half is a side of half the length; 1 at least.
func half(side int) int { return (side + 1) / 2 }

// halve fills dst, which has half the sides of src and the same ratio.
func (h *halver) halve(dst, src *image.YCbCr) {
	halvePlane(plane{dst.Y, dst.YStride}, plane{src.Y, src.YStride}, &h.brightness)
	halvePlane(plane{dst.Cb, dst.CStride}, plane{src.Cb, src.CStride}, &h.colour)
	halvePlane(plane{dst.Cr, dst.CStride}, plane{src.Cr, src.CStride}, &h.colour)
}

// plane is one component of a picture, without gaps between its rows.
type plane struct {
	pixels []byte
	width  int
}

// halvePlane takes the last row and column twice where there is an odd number.
func halvePlane(dst, src plane, table *[256]byte) {
	rows := len(src.pixels) / src.width
	for y := range len(dst.pixels) / dst.width {
		upper := src.pixels[2*y*src.width:][:src.width]
		lower := src.pixels[min(2*y+1, rows-1)*src.width:][:src.width]
		out := dst.pixels[y*dst.width:][:dst.width]
		for x := range out {
			right := min(2*x+1, src.width-1)
			sum := int(upper[2*x]) + int(upper[right]) + int(lower[2*x]) + int(lower[right])
			out[x] = table[(sum+2)/4]
		}
	}
}
