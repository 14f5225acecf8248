--- What became of a batch, once.
--- @flags allow-oom
--- @key head
--- @key results
--- @param number text
--- @param letters text
--- @param ends text  ms since the epoch
--- @rows what, by  the tally

if redis.call('EXISTS', head) == 0 then return 'gone' end
if redis.call('HSETNX', results, number, letters) == 0 then return 0 end
redis.call('PEXPIREAT', results, ends)
redis.call('HINCRBY', head, 'batches', 1)
for i = ROWS, #ARGV, ROW do redis.call('HINCRBY', head, 'n:' .. ARGV[i], ARGV[i + 1]) end
return 1
