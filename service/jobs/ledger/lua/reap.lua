-- Begin to delete the expired jobs, and name them, with those whose deletion was interrupted. A job whose files another one
-- needs is kept until that one ends. ARGV: most at a time, pause before one that is still there is looked at again.
release_stale_reservations()
local at, jobs = now(), {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', P .. 'expiring', '-inf', at, 'LIMIT', 0, 1000)) do
  local state = state_of(job)
  local ended = has_ended(state)
  if is_newer(job) then
    -- its deletion is left to the Mintage that made it
  elseif ended or state == 'DELETING' then
    redis.call('ZADD', P .. 'expiring', at + tonumber(ARGV[2]), job)
    if not (ended and redis.call('HEXISTS', P .. 'needed', job) == 1) then
      if ended then set_state(job, 'DELETING') end
      table.insert(jobs, job)
      if #jobs == tonumber(ARGV[1]) then break end
    end
  else
    redis.call('ZREM', P .. 'expiring', job)
  end
end
return answer({jobs = jobs})
