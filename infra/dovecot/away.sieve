# Runs before every user's own script: the answer that an administrator set for somebody who is away. What it says comes from LDAP with
# the user, so that it holds for the next message. To each sender once a day (RFC 5230 section 4.1); by the extension itself never
# to lists, robots or bounces, and only to what names the recipient.
require ["vacation", "variables", "date", "relational", "vnd.dovecot.environment"];

if not string :is "${env.vnd.dovecot.config.away_text}" "" {
  set "from" "${env.vnd.dovecot.config.away_from}";
  set "until" "${env.vnd.dovecot.config.away_until}";
  if string :is "${from}" "" { set "from" "0000-00-00"; }
  if string :is "${until}" "" { set "until" "9999-99-99"; }
  if allof (currentdate :zone "+0700" :value "ge" "date" "${from}",
            currentdate :zone "+0700" :value "le" "date" "${until}") {
    vacation :days 1 :handle "away" :subject "${env.vnd.dovecot.config.away_subject}" "${env.vnd.dovecot.config.away_text}";
  }
}
