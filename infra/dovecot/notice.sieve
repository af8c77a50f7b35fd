# Runs before every user's own script. The platform's notices are sent at least once: after a crash between sending and
# noting it, the same notice (same Message-ID, same Date) is sent again, and the second delivery is discarded here (RFC 7352).
require ["duplicate", "envelope", "variables", "date", "vnd.dovecot.environment", "vnd.dovecot.execute"];

if exists "X-Congvu-Notice" {
  if duplicate {
    discard;
    stop;
  }
  # A Dovecot that is killed between storing a message and noting it knows nothing of it afterwards; but there it lies, and not
  # longer than since the day it was written. The sender is one that nobody else may use (Postfix sees to that).
  if allof (envelope :is "from" "thongbao@${MAIL_DOMAIN}", header :matches "Message-ID" "*") {
    set "message" "${1}";
    if date :zone "+0000" :matches "Date" "date" "*" {
      set "maildir" "${env.vnd.dovecot.config.maildir}";
      execute :output "stored" "find" ["${maildir}/new", "${maildir}/cur", "-type", "f", "-newermt", "${1} 00:00Z",
        "-exec", "grep", "-lF", "${message}", "{}", "+"];
      if not string :is "${stored}" "" {
        discard;
        stop;
      }
    }
  }
}

# One message to two lists, or to a list and to one of its members by name, comes once: Postfix knows no duplicates across the
# addresses that were written to.
if allof (exists "List-Id", duplicate :handle "list" :seconds 3600) {
  discard;
  stop;
}
