package decide

// Count is how many messages are remembered.
func (a *Arrivals) Count() int64 { return a.sum }
