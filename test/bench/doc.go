// Package bench measures how soon the manager's real binary dispatches, on a real API server, with a real Redis, and how quick
// the history's store is, and its pages in a real browser.
//
// Each benchmark prints one line of JSON. It has what was measured, in milliseconds, and a limit measured in the same run:
// what the same API server needs for the same Jobs when they are created without asking a queue, what the same disk needs for
// the same bytes, what the same browser needs for a page with nothing on it. The ratio of the two is what to compare between
// machines and versions; the milliseconds belong to one machine at one moment.
package bench
