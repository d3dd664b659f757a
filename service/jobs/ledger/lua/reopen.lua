-- Hand out the shards of jobs again that an older Mintage left alone.
local jobs = {}
for _, job in ipairs(redis.call('SMEMBERS', P .. 'newer')) do
  if not is_newer(job) then
    redis.call('SREM', P .. 'newer', job)
    if goes_on(state_of(job)) then
      open_job(job)
      table.insert(jobs, job)
    end
  end
end
if jobs[1] then wake() end
return answer({jobs = #jobs})
