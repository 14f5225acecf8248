--- Which ids the family has never had.
--- @flags no-writes
--- @include family
--- @rows id  an id each

local out = {}
for i = ROWS, #ARGV do
  local id = ARGV[i]
  out[i] = (call('HEXISTS', base .. 'items', id) == 1 or call('HEXISTS', base .. 'done', id) == 1) and 0 or 1
end
return out
