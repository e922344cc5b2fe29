# What the machine has cost since the first of the month (UTC), added up from its events. Sourced by scripts/paperspace.
# shellcheck shell=bash disable=SC2016 # jq has variables of its own

readonly MONTH_JQ="$COSTS_JQ"'
  def month_begin($further): gmtime | [.[0], .[1] + $further, 1, 0, 0, 0, 0, 0]
    | if .[1] > 11 then [.[0] + 1, 0] + .[2:] else . end | mktime;
  # When it was on: from a start, or from a creation that no start follows, to the stop. Where none is among the events
  # (after a poweroff from inside?), to the next start at most: `unseen`.
  def intervals($state): reduce (map(select(.state != "error" and .state != "cancelled")) | sort_by(.dtCreated))[] as $e
      ({list: []};
        ($e.dtStarted // $e.dtCreated | epoch) as $begin | ($e.dtFinished | if . then epoch else now end) as $stopped
        | if $e.name == "create" then .created = $begin
          elif $e.name == "start" then
            (if .on then .list += [{from: .on, to: $begin, unseen: true}] else . end) | .on = $begin | .created = null
          elif $e.name == "stop" or $e.name == "vm-shutdown-force" then
            (if .on // .created then .list += [{from: (.on // .created), to: $stopped}]
              elif .list == [] then .list += [{from: 0, to: $stopped, unseen: true}] else . end)
            | .on = null | .created = null
          else . end)
    | if .on then .list + [{from: .on, to: now, unseen: ($state == "off")}]
      elif .created and $state != "off" then .list + [{from: .created, to: now}] else .list end;
  def hours($since): map([.to - ([.from, $since] | max), 0] | max) | add // 0 | . / 3600;
  def cents: . * 100 | round / 100;
  def month($events): (now | month_begin(0)) as $since | (now | month_begin(1)) as $next
    | .state as $state | ($events | intervals($state)) as $on | ($on | hours($since)) as $hours
    | ((now - ([$since, (.dtCreated | epoch)] | max)) / ($next - $since)) as $part
    | {since: ($since | todate), hoursOn: ($hours | cents), hoursWithoutStop: ($on | map(select(.unseen)) | hours($since) | cents),
      computeDollars: ($hours * .usageRate | cents), storageDollars: (resting * $part | cents)}
    | .dollars = (.computeDollars + .storageDollars | cents);'

# JSON of the month
month_json() {
  api_list_all_events "$MACHINE_ID" || die "$API_ERROR"
  answer --argjson machine "$MACHINE" "$MONTH_JQ"' . as $events | $machine | month($events)'
}

# MONTH, as month_json prints it
month_text() {
  jq -r --arg rate "$RATE" "$COSTS_JQ"'
    "  this month  about $\(.dollars | money) since \(.since[:10]) (UTC): $\(.computeDollars | money) for \(.hoursOn) h on at $\($rate)/h,"
      + " $\(.storageDollars | money) for its disk and address",
    if .hoursWithoutStop > 0 then "              of these, \(.hoursWithoutStop) h at most: no stop is among its events, so they are "
      + "counted to the next start, or to now" else empty end' <<< "$1"
}
