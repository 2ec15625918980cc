// Package store keeps the records of Jobs, in SQLite or in PostgreSQL.
//
// A record is active until its Job has ended, and ended from then on. Saving one again replaces it, but an active one never
// replaces an ended one. Records are in order of creation, newest first; of those created in the same millisecond the one
// saved later is newer.
//
// When a record is first saved as ended it is also counted in a roll-up, in the same transaction: there is one for each
// ScaledJob and UTC day, with the counts and distributions of what finished on that day. Records are pruned, by age and by
// number; roll-ups stay, and so statistics go further back than records.
//
//	        Save (active)      Save (ended)        Prune
//	record   |-----------------|-------------------|
//	roll-up                    |------------------------------>
//
// A search is for words: all words of the query must be words of the record, or beginnings of them, in any case. A word is a
// run of letters, marks and digits. Searched are the message ID, the Job, the trigger, the names of pods and nodes, reasons,
// messages, the result, and the ends of logs.
//
// Both databases have the same tables, made by migrations that run when a store is opened. What they do differently is in
// sqlite.go and postgres.go.
package store
