package encode

// SetAVILimit makes a file's largest size smaller, in bytes.
func SetAVILimit(a *AVIWriter, limit int64) { a.limit = limit }
