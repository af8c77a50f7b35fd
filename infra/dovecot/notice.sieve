# Runs before every user's own script. The platform's notices are sent at least once: after a crash between sending and
# noting it, the same notice (same Message-ID) is sent again, and the second delivery is discarded here (RFC 7352).
require ["duplicate"];

if exists "X-Congvu-Notice" {
  if duplicate {
    discard;
    stop;
  }
}

# One message to two lists, or to a list and to one of its members by name, comes once: Postfix knows no duplicates across the
# addresses that were written to.
if allof (exists "List-Id", duplicate :handle "list" :seconds 3600) {
  discard;
  stop;
}
