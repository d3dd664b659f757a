-- Tell what changes when Redis restarts, perhaps without the last second's writes, or is emptied.
local run = redis.call('INFO', 'server'):match('run_id:(%w+)')
return answer({incarnation = run .. ' ' .. (redis.call('GET', P .. 'rebuilt') or '')})
