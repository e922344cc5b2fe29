# What the machine costs, from the API's figures where it has any. Sourced by scripts/paperspace.
# shellcheck shell=bash disable=SC2016 # jq has variables of its own

readonly PRICES_URL=https://www.paperspace.com/pricing
readonly STATIC_IP_PRICE=3 # $/month, about
# Approximate prices, as of autumn 2026 (PRICES_URL has the true ones): $/h of machine types, of which the API tells only
# a machine's that exists; $/month of disks of so many gigabytes. `storageRate` has no documented unit: no disk costs $1 an
# hour, nor less than $1 a month.
readonly COSTS_JQ="$MACHINE_JQ"'
  def type_prices: {M4000: 0.45, P4000: 0.51, RTX4000: 0.56, A4000: 0.76, P5000: 0.78, RTX5000: 0.82, P6000: 1.10,
    A5000: 1.38, A6000: 1.89, V100: 2.30, A100: 3.09, "A100-80G": 3.18, H100: 5.95};
  def disk_price: . as $gigabytes | [[50, 5], [100, 7], [250, 10], [500, 25], [1000, 55], [2000, 120]]
    | map(select(.[0] >= $gigabytes) | .[1])[0] // $gigabytes * 0.06;
  def disk: if (.storageRate // 0) > 0 then {month: .storageRate, basis: "by the API, its storageRate"}
      | if .month < 1 then .month *= 730 else . end
    else (.storageTotal | if . > 1000000 then . / 1073741824 else . end | floor)
      | {month: disk_price, basis: "by the price list, \(.) GB"} end;
  def address: if .publicIpType == "static" then '"$STATIC_IP_PRICE"' else 0 end;
  def resting: disk.month + address;
  def resting_note: "about $\(resting | money) a month: its disk ($\(disk | "\(.month | money) \(.basis)"))"
    + if address > 0 then ", its static address ($\(address | money) by the price list)." else "." end;'

resting_note() {
  field "$COSTS_JQ resting_note"
}

# What the machine that is about to be made costs on and off: two lines. MACHINES: those of the account
offer_note() {
  jq -r --arg type "$PAPERSPACE_MACHINE_TYPE" --argjson disk "$PAPERSPACE_DISK_GB" --arg address "$1" "$COSTS_JQ"'
    ([.[] | select(.machineType == $type and .usageRate > 0)][0]) as $same
    | if $same then "$\($same.usageRate | money)/h, as the API says of \($same.name)"
      elif type_prices[$type] then "$\(type_prices[$type] | money)/h by the price list of autumn 2026"
      else "unknown: see '"$PRICES_URL"'" end,
    ({storageTotal: $disk, publicIpType: $address} | resting_note)' <<< "$2"
}
