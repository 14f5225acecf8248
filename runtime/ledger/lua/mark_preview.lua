--- Fields of a preview's head that are set once.
--- @flags allow-oom
--- @key head
--- @rows name, value

if redis.call('EXISTS', head) == 0 then return 'gone' end
for i = ROWS, #ARGV, ROW do redis.call('HSETNX', head, ARGV[i], ARGV[i + 1]) end
return 1
