--- Which rows may match a selection; the caller asks the rest of those that are sent. Inlined: it reads the arguments.

-- Numbers are read only where one is asked for: it costs as much as sending a record.
local of_any_head = #levels == 4 and att_min <= 1 and enq_from <= 0 and math.min(att_max, enq_until) >= FOREVER_US
local with_record, with_fails = record_flag == '1', fails_flag == '1'
local members = tonumber(ARGV[ROWS + wanted])
local own, find, match, sub = ROWS + 1 + wanted + 2 * members, string.find, string.match, string.sub
local texts, keys, values, tight, loose = {unpack(ARGV, ROWS, ROWS - 1 + wanted)}, {}, {}, {}, {}
for i = 1, members do
  local key, value = ARGV[ROWS - 1 + wanted + 2 * i], ARGV[ROWS + wanted + 2 * i]
  keys[i], tight[i], loose[i] = key, key .. ':' .. value, key .. ': ' .. value
  values[i] = tonumber(value) or value
end
local function has_member(record, i)
  local key, value = keys[i], values[i]
  local text = type(value) == 'string'
  -- As nearly everybody writes it; of a number that is no more than its first digits.
  if text and (find(record, tight[i], 1, true) or find(record, loose[i], 1, true)) then return true end
  local _, stop = find(record, key, 1, true)
  while stop do
    if text then
      local start = match(record, '^%s*:%s*()', stop + 1)
      if start and sub(record, start, start + #value - 1) == value then return true end
      if start and sub(record, start, start + #value + 1) == '"' .. value .. '"' then return true end
    else
      local number = match(record, '^%s*:%s*"?(-?%d[%d.eE+-]*)', stop + 1)
      if number and tonumber(number) == value then return true end
    end
    _, stop = find(record, key, stop + 1, true)
  end
end
local function may_match(record)
  for i = 1, wanted do
    if not find(record, texts[i], 1, true) then return false end
  end
  for i = 1, members do
    if not has_member(record, i) then return false end
  end
  return true
end
local ids_found, attempts, records_found, failures, n = {}, {}, {}, {}, 0
local function consider(id, record)
  if not may_match(record) and not find(record, '\\u', 1, true) then return end
  local attempt
  if of_any_head then
    attempt = tonumber(match(record, '^[0-3]:([1-9]%d*):%d+:'))
    if not attempt then return end
  else
    local p, a, e = match(record, '^(%d):(%d+):(%d+):')
    if not p or not find(levels, p, 1, true) then return end
    local enqueued = tonumber(e)
    attempt = tonumber(a)
    if attempt < att_min or attempt > att_max or enqueued < enq_from or enqueued > enq_until then return end
  end
  local fails = false
  if with_fails then
    fails = call('HGET', base .. 'fails', id)
    if not fails then return end
    fails = match(fails, '^.*\n(.*)$') or fails -- greedy from the start: looked at once
  end
  n = n + 1
  ids_found[n], attempts[n] = id, attempt
  if with_record then records_found[n] = record end
  if with_fails then failures[n] = fails end
end
local function found() return {ids_found, attempts, records_found, failures} end
