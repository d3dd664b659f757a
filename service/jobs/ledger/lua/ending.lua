-- Name the jobs that can be finished now: complete ones, and cancelled ones that no worker holds.
local jobs = {}
for _, job in ipairs(redis.call('ZRANGE', P .. 'ending', 0, 99)) do
  if num(job, 'running') == 0 and not is_newer(job) then table.insert(jobs, job) end
end
return answer({jobs = jobs})
