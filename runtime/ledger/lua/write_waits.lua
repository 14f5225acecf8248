--- All that one worker waits for now.
--- @key waits
--- @param told_ms text
--- @rows run, told

redis.call('DEL', waits)
for i = ROWS, #ARGV, ROW do redis.call('HSET', waits, ARGV[i], ARGV[i + 1]) end
if #ARGV >= ROWS then redis.call('PEXPIRE', waits, told_ms) end
return 1
