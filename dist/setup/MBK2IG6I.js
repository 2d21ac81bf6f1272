import{a as s}from"./NARWF4YE.js";var t=s((o,e)=>{e.exports=process.getBuiltinModule("events")});export{t as a};
