-- Count shards whose file and marker are in place but whose commit was lost with Redis's last writes. One that is to be made
-- again stays so. ARGV: job, then attempt, digest, images, bytes after the number of each shard.
local job = ARGV[1]
local state, adopted = state_of(job), 0
if is_newer(job) or not (goes_on(state) or state == 'PAUSED' or state == 'CANCELLING') then
  return answer({adopted = 0})
end
for i = 2, #ARGV, 5 do
  local shard, rec = ARGV[i], load_shard(job, ARGV[i])
  if (rec.s == 'R' or rec.s == 'L') and not rec.x then
    if rec.s == 'L' then end_lease(job, shard, rec) end
    local more = tonumber(ARGV[i + 1]) - rec.a
    if more > 0 then
      rec.a = rec.a + more
      redis.call('HINCRBY', job_key(job), 'attempts', more)
    end
    settle(job, shard, rec, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
    adopted = adopted + 1
  end
end
if adopted > 0 then
  local high = math.max(num(job, 'high'), num(job, 'committed') + num(job, 'live'))
  redis.call('HSET', job_key(job), 'high', high) -- without a trace in the speed: they were not made now
  redis.call('HSETNX', job_key(job), 'started', now())
  if state == 'QUEUED' then set_state(job, 'RUNNING') end
  close_if_complete(job)
  wake_if_ending(job)
end
return answer({adopted = adopted})
