-- Tell what changes when Redis restarts, perhaps without the last second's writes, or is emptied.
return answer({incarnation = incarnation_now()})
