--- Records of items, without more of their payloads than is shown.
--- @flags no-writes
--- @include family
--- @param shown number  characters of a payload
--- @rows id  an id each

local out = {}
for i = ROWS, #ARGV do
  local id = ARGV[i]
  local record = call('HGET', base .. 'items', id)
  out[#out + 1] = {record and string.sub(record, 1, string.find(record, '\n', 1, true) + shown),
    call('HGET', base .. 'fails', id), call('HGET', base .. 'lease', id), call('HGET', base .. 'deaths', id)}
end
return out
