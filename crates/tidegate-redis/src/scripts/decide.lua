-- Decides plans, one after the other, at one instant.
--
-- KEYS     the buckets of algorithms 1 to 3, then those of 4 and 5, then those of remembered calls
-- ARGV[1]  packed (MessagePack): { deadline µs or 0, now µs or 0 to read the clock, slack ms, how many keys of
--          algorithms 1 to 3, asks, plans, extras, witnesses, members }
--            plans      one list of numbers; a plan is: how many equal calls (0 to look only), extra or 0,
--                       how many buckets, then key and ask of each
--            extras     { permit (8 bytes), key of the remembered call or 0 }
--            witnesses  one list of numbers: key, then the three numbers of the fullest state a client has seen there
--            members    packed layout: of each key of algorithms 1 to 3 the member that the bucket is; '' for none
--
-- Returns { now, then of each plan: how many calls were granted, and the state of each bucket before the first }.
-- Instead of the number granted, -1: the client has to look at a bucket first, nothing was done, no state follows;
-- -2: charged before, what was remembered then follows. { now, 'late' } where the deadline is over: nothing was done.

local input = cmsgpack.unpack(ARGV[1])
local asks, plans, extras, witnesses = input[5], input[6], input[7], input[8]
slack = input[3]
now = read_time(input[2])
if input[1] > 0 and now > input[1] then return { now, 'late' } end

local REMEMBERED_MS = '600000'
locate(input[9])
local raws = read_all(input[4])

-- Of every key of algorithms 1 to 3: its state, read at the first plan that has it; what is to be written at the end.
local A, B, C, ready, ask_of, step = {}, {}, {}, {}, {}, {}
local dirty, is_dirty = {}, {}

local seen = nil
if #witnesses > 0 then
  seen = {}
  for i = 1, #witnesses, 4 do seen[witnesses[i]] = i end
end

local function mark(key)
  if not is_dirty[key] then
    is_dirty[key] = true
    dirty[#dirty + 1] = key
  end
end

-- A client has seen this bucket fuller than it is: the store has forgotten something.
local function recall(key, ask)
  local i = seen[key]
  if not i then return end
  local a, b, c = witnesses[i + 1], witnesses[i + 2], witnesses[i + 3]
  if ask[1] == 1 then
    local ahead = a - now
    if ahead > ask[11] or (ahead == ask[11] and b > ask[12]) then return end
    if a > A[key] or (a == A[key] and b > B[key]) then
      A[key], B[key] = a, b
      step[key] = false
      mark(key)
    end
  elseif a <= now and a >= A[key] then
    if a > A[key] then
      A[key], B[key], C[key] = a, b, c
      mark(key)
    elseif b > B[key] or c > C[key] then
      if b > B[key] then B[key] = b end
      if c > C[key] then C[key] = c end
      mark(key)
    end
  end
end

-- False where the client has to look at the bucket first.
local function get_ready(key, ask)
  if ready[key] then
    -- Another plan of this call may come from other rules.
    local first = ask_of[key]
    return first[3] == ask[3] and first[1] == ask[1]
  end
  local raw = raws[key]
  if raw then
    local a, b, c = parse(raw, ask)
    if not a then return false end
    A[key], B[key], C[key] = a, b, c or 0
  else
    if is_elsewhere(key) then return false end
    A[key], B[key], C[key] = 0, 0, 0
    step[key] = false
  end
  ask_of[key] = ask
  ready[key] = true
  if seen then recall(key, ask) end
  return true
end

-- Adds the cost to the state of a key, as it lets it pass.
local function charge(key, ask)
  if ask[5] == 0 then return end
  if ask[1] == 1 then
    local a, b = A[key], B[key]
    local text = step[key] == nil and 16
    if a < now then
      a, b = now, 0
      text = false
    end
    a, b = a + ask[7], b + ask[8]
    if b >= ask[6] then
      a, b = a + 1, b - ask[6]
      text = text and 17
    end
    A[key], B[key] = a, b
    step[key] = text and ask[text]
  else
    B[key] = B[key] + ask[5]
  end
  mark(key)
end

local out = { now }

-- The commonest plan: one bucket of algorithm 1 to 3.
local function decide_one(calls, key, ask)
  if not get_ready(key, ask) then
    out[#out + 1] = -1
    return
  end
  local algorithm = ask[1]
  if algorithm ~= 1 then A[key], B[key], C[key] = current(ask, A[key], B[key], C[key]) end
  local at = #out + 1
  out[at + 1], out[at + 2] = A[key], B[key]
  if algorithm == 3 then out[at + 3] = C[key] end
  local granted = 0
  while granted < calls and passes(ask, A[key], B[key], C[key]) do
    charge(key, ask)
    granted = granted + 1
  end
  if granted < calls and ask[2] == 0 then granted = calls end
  out[at] = granted
end

local function decide_many(calls, extra, buckets, from)
  local at = #out + 1
  local views = {}
  out[at] = 0
  for i = 0, buckets - 1 do
    local key, ask = plans[from + 2 * i], asks[plans[from + 2 * i + 1]]
    local algorithm = ask[1]
    local view
    if algorithm == 4 then
      view = open_log(KEYS[key], ask)
      if view then log_digest(KEYS[key], ask, view, out) end
    elseif algorithm == 5 then
      view = open_permits(KEYS[key], ask)
      if view then permits_digest(KEYS[key], ask, view, out) end
    else
      view = get_ready(key, ask)
      if view then
        if algorithm ~= 1 then A[key], B[key], C[key] = current(ask, A[key], B[key], C[key]) end
        out[#out + 1], out[#out + 2] = A[key], B[key]
        if algorithm == 3 then out[#out + 1] = C[key] end
      end
    end
    if not view then
      for j = #out, at, -1 do out[j] = nil end
      out[at] = -1
      return
    end
    views[i] = view
  end
  if calls == 0 then return end
  local granted = true
  local allows = {}
  for i = 0, buckets - 1 do
    local key, ask = plans[from + 2 * i], asks[plans[from + 2 * i + 1]]
    local algorithm = ask[1]
    if algorithm == 4 then
      local log = views[i]
      allows[i] = ask[7] >= (log == 'none' and 0 or log[5] - log[2])
    elseif algorithm == 5 then
      allows[i] = ask[7] >= views[i][1]
    else
      allows[i] = passes(ask, A[key], B[key], C[key])
    end
    if not allows[i] and ask[2] == 1 then granted = false end
  end
  if not granted then return end
  out[at] = 1
  local charged = {}
  for i = 0, buckets - 1 do
    local key, ask = plans[from + 2 * i], asks[plans[from + 2 * i + 1]]
    if allows[i] and not charged[key] then
      charged[key] = true
      if ask[1] == 4 then
        log_add(KEYS[key], ask, views[i], ask[5])
      elseif ask[1] == 5 then
        permits_add(KEYS[key], ask, views[i], extras[extra][1])
      else
        charge(key, ask)
      end
    end
  end
end

-- Remembers a call that was charged, so that the same call again is not.
local function remember(extra, buckets, from, at)
  local record = { now }
  for i = 0, buckets - 1 do record[i + 2] = asks[plans[from + 2 * i + 1]][3] end
  for i = at + 1, #out do record[#record + 1] = out[i] end
  call('PSETEX', KEYS[extras[extra][2]], REMEMBERED_MS, cmsgpack.pack(record))
end

local p, last = 1, #plans
while p <= last do
  local calls, extra, buckets = plans[p], plans[p + 1], plans[p + 2]
  local from = p + 3
  p = from + 2 * buckets
  local ask = asks[plans[from + 1]]
  local remembered = extra > 0 and extras[extra][2] > 0 and calls > 0 and call('GET', KEYS[extras[extra][2]])
  if remembered then
    out[#out + 1] = -2
    out[#out + 1] = remembered
  elseif buckets == 1 and ask[1] <= 3 and extra == 0 then
    decide_one(calls, plans[from], ask)
  else
    local at = #out + 1
    decide_many(calls, extra, buckets, from)
    if out[at] == 1 and extra > 0 and extras[extra][2] > 0 then remember(extra, buckets, from, at) end
  end
end

for i = 1, #dirty do
  local key = dirty[i]
  keep(key, ask_of[key], A[key], B[key], C[key], raws[key], step[key])
end

return out
