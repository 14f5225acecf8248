--- Some of a preview's batches.
--- @key batches
--- @param ends text  when they expire, ms since the epoch
--- @rows number, batch

for i = ROWS, #ARGV, ROW do redis.call('HSET', batches, ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIREAT', batches, ends)
return 1
