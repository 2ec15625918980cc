package inbox

import (
	"context"
	"time"
)

// Persist is what takes and settles while a broker is away.
func Persist(ctx context.Context, patience time.Duration, attempt func(context.Context) error) error {
	return persist(ctx, patience, attempt)
}
