-- Begin to delete the jobs whose time has come, and name them, with those whose deletion was broken off. ARGV: most at a
-- time, pause until one that is still there is named again.
let_go_of_the_unborn()
local at, jobs = now(), {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', P .. 'expiring', '-inf', at, 'LIMIT', 0, ARGV[1])) do
  local state = state_of(job)
  if state == 'DELETING' or has_ended(state) then
    if state ~= 'DELETING' then set_state(job, 'DELETING') end
    redis.call('ZADD', P .. 'expiring', at + tonumber(ARGV[2]), job)
    table.insert(jobs, job)
  else
    redis.call('ZREM', P .. 'expiring', job)
  end
end
return answer({jobs = jobs})
