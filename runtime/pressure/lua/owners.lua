--- Who holds leases of the family.
--- @flags no-writes
--- @include family

local seen, out = {}, {}
for _, entry in ipairs(call('HVALS', base .. 'lease')) do
  local owner = string.match(entry, '^%d+:%d+:(.*)$')
  if not seen[owner] then seen[owner], out[#out + 1] = true, owner end
end
return out
