--- A removed family's backlog comes back exactly as it waited; called again while some is left.
--- @flags allow-oom
--- @include family
--- @include rows
--- @param given_now text  microseconds; empty: the server's own time
--- @param wake text  the channel that tells drainers of work

local waits, left = 0, 0
for level = 0, 3 do
  for _, kind in ipairs({'w', 'd'}) do
    waits = waits + pour(base .. 'x' .. kind .. level, base .. kind .. level)
    left = left + call('ZCARD', base .. 'x' .. kind .. level)
  end
end
if left == 0 then call('HDEL', base .. 'meta', 'removed') end
call('PUBLISH', wake, '')
return {waits, left}
