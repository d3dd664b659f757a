-- The jobs whose intent could not be written beside their plan yet. ARGV: add, remove or list; job.
local jobs = P .. 'unrecorded'
if ARGV[1] == 'add' then redis.call('SADD', jobs, ARGV[2]) end
if ARGV[1] == 'remove' then redis.call('SREM', jobs, ARGV[2]) end
if ARGV[1] == 'list' then return answer({jobs = redis.call('SMEMBERS', jobs)}) end
return answer({ok = true})
