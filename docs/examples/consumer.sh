#!/bin/sh
# A consumer of nothing but shell: it takes one message after another from a Redis list, has a program work on each, and tells
# Longhaul whether it works, at /cgi-bin/state and /cgi-bin/fence. See docs/consumers.md.
#
# It needs redis-cli, flock, and busybox with httpd. What it does is told by files in STATE, which change with a lock held: busy
# has the message in hand, fenced is there while nothing more is to be taken, held while that ends by itself.
set -eu

: "${REDIS:?give host:port}" "${LIST:?name the list}" "${WORK:?name the program}"
export STATE="${STATE:-/tmp/consumer}" REDIS LIST
mkdir -p "$STATE/www/cgi-bin"
rm -f "$STATE/busy"
: >"$STATE/lock"
: >"$STATE/fenced"
: >"$STATE/held"

cat >"$STATE/www/cgi-bin/state" <<'CGI'
#!/bin/sh
printf 'Content-Type: application/json\r\n\r\n'
exec flock "$STATE/lock" sh -c '
	if [ -e "$STATE/busy" ]; then
		printf "{\"busy\":true,\"messageID\":\"%s\"}\n" "$(tr -cd "A-Za-z0-9._:@+-" <"$STATE/busy")"
	elif [ -e "$STATE/fenced" ]; then
		echo "{\"busy\":false,\"fenced\":true}"
	else
		echo "{\"busy\":false}"
	fi'
CGI

cat >"$STATE/www/cgi-bin/fence" <<'CGI'
#!/bin/sh
status="200 OK"
case $REQUEST_METHOD in
POST) flock "$STATE/lock" sh -c '[ ! -e "$STATE/busy" ] && rm -f "$STATE/held" && : >"$STATE/fenced"' || status="409 Conflict" ;;
DELETE) flock "$STATE/lock" rm -f "$STATE/held" "$STATE/fenced" ;;
GET)
	flock "$STATE/lock" sh -c 'rm -f "$STATE/held"; : >"$STATE/fenced"'
	while [ -e "$STATE/busy" ]; do sleep 1; done
	;;
esac
printf 'Status: %s\r\nContent-Type: application/json\r\n\r\n{}\n' "$status"
CGI
chmod +x "$STATE/www/cgi-bin/state" "$STATE/www/cgi-bin/fence"

busybox httpd -f -p "${LISTEN:-8081}" -h "$STATE/www" &
server=$!
(
	sleep "${HOLD:-10}"
	flock "$STATE/lock" sh -c '[ ! -e "$STATE/held" ] || rm -f "$STATE/held" "$STATE/fenced"'
) >/dev/null 2>&1 &
holding=$!
trap 'kill $server $holding 2>/dev/null || :' EXIT
stop=
trap 'stop=yes' TERM

redis() { redis-cli -e -h "${REDIS%:*}" -p "${REDIS##*:}" "$@"; }

while [ -z "$stop" ]; do
	# Taken with the lock held, so that a fence is answered either before or after.
	message=$(flock "$STATE/lock" sh -c '
		[ ! -e "$STATE/fenced" ] || exit 0
		message=$(redis-cli -e -h "${REDIS%:*}" -p "${REDIS##*:}" LMOVE "$LIST" "$LIST:processing" LEFT RIGHT) || exit 0
		[ -z "$message" ] || printf %s "$message" | tee "$STATE/busy"')
	if [ -z "$message" ]; then
		sleep 0.2 || :
		kill -0 $server # it ends with its server
		continue
	fi
	# Acknowledged when the work is done. One that fails goes to another list.
	"$WORK" "$message" || redis RPUSH "$LIST:failed" "$message" >/dev/null
	redis LREM "$LIST:processing" 1 "$message" >/dev/null
	flock "$STATE/lock" rm -f "$STATE/busy"
done
