--- The next page of a selection in one set: the rows that may match.
--- @flags no-writes
--- @include family
--- @inline filter
--- @const PAGE_BYTES
--- @const FOREVER_US
--- @param levels text  the priorities that are wanted, a digit each
--- @param enq_from number  microseconds
--- @param enq_until number
--- @param att_min number
--- @param att_max number
--- @param record_flag text  1: with the records
--- @param fails_flag text  1: with the last failures
--- @param wanted number  how many texts follow
--- @rows part  texts; how many members; key and value of each; set, low, high, limit, with_scores, last, last_score

local set, low, high, limit, with_scores, last, last_score = unpack(ARGV, own)
local key, start = base .. set, nil
if last ~= '' and call('ZSCORE', key, last) == last_score then
  start = call('ZRANK', key, last) + 1
else -- gone meanwhile: again from the first of its instant, the caller knows what it had
  start = call('ZCOUNT', key, '-inf', '(' .. (last ~= '' and last_score or low))
end
local stop = call('ZCOUNT', key, '-inf', high)
local ids = call('ZRANGE', key, int(start), int(math.min(start + limit, stop) - 1))
local scanned, bytes, chunk = 0, 0, 4
while scanned < #ids and bytes < PAGE_BYTES do
  local upto = math.min(scanned + chunk, #ids)
  local records = call('HMGET', base .. 'items', unpack(ids, scanned + 1, upto))
  for j = 1, #records do
    local record = records[j]
    if record then
      bytes = bytes + #record
      consider(ids[scanned + j], record)
    end
  end
  scanned = upto
  chunk = math.max(1, math.min(100, math.floor((PAGE_BYTES - bytes) * scanned / (bytes + 1))))
end
if scanned > 0 then
  last = ids[scanned]
  last_score = call('ZSCORE', key, last)
end
local scores = {}
if with_scores == '1' then
  for i = 1, n do scores[i] = call('ZSCORE', key, ids_found[i]) end
end
return {scanned, start + scanned >= stop and 1 or 0, last, last_score, found(), scores}
