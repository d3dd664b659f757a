-- Name jobs, the newest first. ARGV: id to begin after ('' from the newest on), most.
local from = ARGV[1] == '' and '+' or '(' .. ARGV[1]
return answer({jobs = redis.call('ZREVRANGEBYLEX', P .. 'jobs', from, '-', 'LIMIT', 0, ARGV[2])})
