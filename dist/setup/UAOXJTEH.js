import{a as s}from"./NARWF4YE.js";var o=s((t,e)=>{e.exports=process.getBuiltinModule("fs")});export{o as a};
