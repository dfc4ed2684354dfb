-- Gives units back, undoes a charge, or takes units without asking: all buckets of one plan.
--
-- KEYS     the buckets, in the order of the plan, and the remembered call's key where there is one
-- ARGV[1]  packed (MessagePack): { deadline µs or 0, now µs or 0 to read the clock, slack ms, what (1 refund,
--          2 withdraw, 3 debit), asks, remembered (0 or 1), and to withdraw: which buckets (0 or 1 each), when they
--          were charged, places (µs or -1 and fraction of each), permit; then members: packed layout, of each bucket
--          the member that it is, '' for none }
--
-- Returns { now, state of each bucket afterwards }, or { now, -1 } where the client has to look at a bucket first and
-- nothing was done, or { now, -2, what was remembered } where this refund was made before, or { now, 'late' }.

local input = cmsgpack.unpack(ARGV[1])
local what, asks, remembered = input[4], input[5], input[6] == 1
local undone, charged_at, places, permit = input[7], input[8], input[9], input[10]
slack = input[3]
locate(input[11])
now = read_time(input[2])
if input[1] > 0 and now > input[1] then return { now, 'late' } end

local REFUND, WITHDRAW, DEBIT = 1, 2, 3
local REMEMBERED_MS = '600000'
local buckets = #asks

if remembered then
  if what == WITHDRAW then
    call('DEL', KEYS[buckets + 1])
  else
    local record = call('GET', KEYS[buckets + 1])
    if record then return { now, -2, record } end
  end
end

local function take_back(ask, a, b)
  if a < now then return a, b end
  a, b = a - ask[7], b - ask[8]
  if b < 0 then a, b = a - 1, b + ask[6] end
  if a < now then return now, 0 end
  return a, b
end

local function refund_tat(ask, a, b)
  local waiting = ask[13]
  local debt = a - now
  if waiting >= 0 and (debt > waiting or (debt == waiting and b > ask[14])) then return a, b end
  return take_back(ask, a, b)
end

local function later(ask, a, b)
  a, b = a + ask[7], b + ask[8]
  if b >= ask[6] then a, b = a + 1, b - ask[6] end
  return a, b
end

local function debit_tat(ask, a, b)
  if a < now then a, b = now, 0 end
  local x, y = later(ask, a, b)
  local fullest, part = now + ask[11], ask[12]
  if x > fullest or (x == fullest and y > part) then x, y = fullest, part end
  if x < a or (x == a and y < b) then return a, b end
  return x, y
end

local function at_most_zero(units)
  return units > 0 and units or 0
end

-- The state of algorithm 1 to 3 afterwards.
local function changed(i, ask, a, b, c)
  local algorithm, cost = ask[1], ask[5]
  if what == WITHDRAW then
    if algorithm == 1 then
      local place = places[2 * i - 1]
      if place < 0 then return refund_tat(ask, a, b) end
      if place == a and places[2 * i] == b then return take_back(ask, a, b) end
      return a, b
    end
    local start = charged_at - charged_at % ask[6]
    if start == a then return a, at_most_zero(b - cost), c end
    if algorithm == 3 and start + ask[6] == a then return a, b, at_most_zero(c - cost) end
    return a, b, c
  end
  if algorithm == 1 then
    if what == REFUND then return refund_tat(ask, a, b) end
    return debit_tat(ask, a, b)
  end
  a, b, c = current(ask, a, b, c)
  if what == REFUND then
    local from_current = cost < b and cost or b
    if algorithm == 3 then c = at_most_zero(c - (cost - from_current)) end
    return a, b - from_current, c
  end
  local most = ask[9] > b and ask[9] or b
  b = b + cost
  return a, b > most and most or b, c
end

-- A log cut down to `kept` units: the newest go first.
local function cut_log(key, ask, log, kept)
  local live, before, count, _, total = log[1], log[2], log[3], log[4], log[5]
  if kept >= total then return end
  if kept <= before then return call('DEL', key) end
  local index = first_where(key, live, count, function(_, upto) return upto >= kept end)
  local at = log_entry(key, index)
  local text = ''
  if index > live then text = call('GETRANGE', key, LOG_HEAD + live * LOG_ENTRY, LOG_HEAD + index * LOG_ENTRY - 1) end
  call('SET', key, pack('<BI4I4d', 68, ask[3], 0, before) .. text .. pack('<dd', at, kept), 'KEEPTTL')
end

-- A log without what was admitted at one instant: those units go from that entry, and from every total after it.
local function strike_log(key, ask, log, cost)
  local live, before, count = log[1], log[2], log[3]
  local index = first_where(key, live, count, function(at) return at >= charged_at end)
  if index == count then return end
  local at, upto = log_entry(key, index)
  if at ~= charged_at then return end
  local lower = before
  if index > live then
    local _, total = log_entry(key, index - 1)
    lower = total
  end
  local struck = upto - lower < cost and upto - lower or cost
  local parts = { pack('<BI4I4d', 68, ask[3], 0, before) }
  if index > live then
    parts[2] = call('GETRANGE', key, LOG_HEAD + live * LOG_ENTRY, LOG_HEAD + index * LOG_ENTRY - 1)
  end
  if upto - struck > lower then parts[#parts + 1] = pack('<dd', at, upto - struck) end
  for i = index + 1, count - 1 do
    local then_, total = log_entry(key, i)
    parts[#parts + 1] = pack('<dd', then_, total - struck)
  end
  local text = table.concat(parts)
  if #text == LOG_HEAD then return call('DEL', key) end
  call('SET', key, text, 'KEEPTTL')
end

local function change_log(i, key, ask, log)
  if log == 'none' then
    if what == DEBIT then log_add(key, ask, log, ask[5] < ask[9] and ask[5] or ask[9]) end
    return
  end
  local used = log[5] - log[2]
  if what == REFUND then
    cut_log(key, ask, log, log[5] - (ask[5] < used and ask[5] or used))
  elseif what == WITHDRAW then
    strike_log(key, ask, log, ask[5])
  else
    local room = at_most_zero(ask[9] - used)
    log_add(key, ask, log, ask[5] < room and ask[5] or room)
  end
end

local function change_permits(key)
  if what ~= WITHDRAW then return end
  if call('ZREM', key, permit) == 1 then return end
  local place = 0
  while call('ZREM', key, permit .. pack('>I2', place)) == 1 do place = place + 1 end
end

-- All are read before any is written.
local found = {}
for i = 1, buckets do
  local key, ask = KEYS[i], asks[i]
  local algorithm = ask[1]
  if algorithm == 4 then
    found[i] = open_log(key, ask)
  elseif algorithm == 5 then
    found[i] = open_permits(key, ask)
  else
    local raw = read(i)
    if raw then
      local a, b, c = parse(raw, ask)
      found[i] = a and { a, b, c or 0, true }
    else
      found[i] = not is_elsewhere(i) and { 0, 0, 0, false }
    end
  end
  if not found[i] then return { now, -1 } end
end

local out = { now }
for i = 1, buckets do
  local key, ask, state = KEYS[i], asks[i], found[i]
  local algorithm = ask[1]
  local wanted = what ~= WITHDRAW or undone[i] == 1
  if algorithm == 4 then
    if wanted then change_log(i, key, ask, state) end
    log_digest(key, ask, open_log(key, ask) or 'none', out)
  elseif algorithm == 5 then
    if wanted then change_permits(key) end
    permits_digest(key, ask, open_permits(key, ask) or { 0, 0, 0 }, out)
  else
    local a, b, c = state[1], state[2], state[3]
    if wanted and (state[4] or what == DEBIT) then
      a, b, c = changed(i, ask, a, b, c)
      c = c or 0
      if rest_at(ask, a, b, c) <= now then
        drop(i)
      else
        keep(i, ask, a, b, c)
      end
    end
    out[#out + 1], out[#out + 2] = a, b
    if algorithm == 3 then out[#out + 1] = c end
  end
end

if remembered and what ~= WITHDRAW then
  local record = { now }
  for i = 1, buckets do record[i + 1] = asks[i][3] end
  for i = 2, #out do record[#record + 1] = out[i] end
  call('PSETEX', KEYS[buckets + 1], REMEMBERED_MS, cmsgpack.pack(record))
end
return out
