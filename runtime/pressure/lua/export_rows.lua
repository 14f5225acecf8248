--- Rows as they are, for a backlog file.
--- @flags no-writes
--- @include family
--- @const READ_BYTES
--- @rows id  an id each

local out, bytes, names = {}, 0, {'flight', 'admitting', 'leased', 'dead', 'quarantined'}
for i = ROWS, #ARGV do
  if bytes > READ_BYTES then break end
  local id, found = ARGV[i], false
  local record = call('HGET', base .. 'items', id)
  if record then
    bytes = bytes + string.len(record)
    local level = head(record)
    for _, name in ipairs({'w', 'd', 'q', 'xw', 'xd'}) do
      local score = call('ZSCORE', base .. name .. level, id)
      if score then found = {name, score} break end
    end
    if not found then
      for _, name in ipairs(names) do
        local score = call('ZSCORE', base .. name, id)
        if score then found = {name, score} break end
      end
    end
  end
  out[i] = found and {found[1], found[2], record, call('HGET', base .. 'fails', id), call('HGET', base .. 'deaths', id)}
end
return out
