import{a as t}from"./NARWF4YE.js";var i=t((l,e)=>{e.exports=process.getBuiltinModule("util")});export{i as a};
